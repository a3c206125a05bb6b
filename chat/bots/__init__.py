"""Bots: clients of two queues, which know neither the database nor the hub."""
