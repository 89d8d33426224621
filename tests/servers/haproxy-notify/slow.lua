core.register_action("wait", { "http-req" }, function() core.msleep(80) end)
