"""The wire between processes and to the bots: publish/subscribe, and queues."""
