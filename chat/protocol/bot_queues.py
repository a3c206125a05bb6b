"""What the server and its bots agree on: queue names and the stock command. Pure."""

RECEIVER = "JOBSITY_RECEIVER"  # the robot's in-tray: names as the original's robots know them
PUBLISHER = "JOBSITY_PUBLISHER"  # its out-tray

STOCK = "stock"  # /stock=CODE
SERVICE_DOWN = "Stock service is not available"
