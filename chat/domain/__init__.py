"""What a chat is: accounts, rooms, members, messages. Knows nothing of HTTP or websockets."""
