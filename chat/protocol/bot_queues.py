"""What the server and its bots agree on: queue names and the stock command. Pure."""

COMMAND_QUEUE = "JOBSITY_RECEIVER"  # the robot's in-tray: names as the original's robots know them
REPLY_QUEUE = "JOBSITY_PUBLISHER"  # its out-tray

STOCK = "stock"  # /stock=CODE
STOCK_SERVICE_DOWN = "Stock service is not available"
