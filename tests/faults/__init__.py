"""What the project promises, tried by breaking things. See README.md here."""
