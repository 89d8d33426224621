import os

bind = "fd://" + os.environ["SERVER_STARTER_PORT"].rpartition("=")[2]
workers = 4
