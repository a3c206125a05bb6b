"""What the server and its bots agree on: the queues, their messages, the stock command. Pure."""

from msgspec import Struct

from chat.protocol.frames import FrameType

COMMAND_QUEUE = "JOBSITY_RECEIVER"  # to the bot; the names are those of the original's bots
REPLY_QUEUE = "JOBSITY_PUBLISHER"  # from the bot

STOCK = "stock"  # /stock=CODE
STOCK_UNAVAILABLE = "Stock service is not available"


class BotMessage(Struct, rename={"chatroom_id": "chatroomId"}, tag=FrameType.MESSAGE.value, tag_field="type"):
    """A message of both queues: a command's line and its author, or a bot's reply."""

    chatmessage: str
    chatuser: str
    chatroom_id: int
