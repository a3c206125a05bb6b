"""What goes over the wire: frames, bodies, texts, notifications. Pure: no I/O."""
