import os

from app import app as application

if os.path.exists(os.path.join(os.environ["SCRATCH"], "broken")):
    raise ImportError("this application is broken")
