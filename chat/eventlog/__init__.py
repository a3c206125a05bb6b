"""A room is a log: its events, the one writer, the reader."""
