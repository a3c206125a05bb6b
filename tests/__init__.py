"""The suite. tests/test_x.py covers chat/x.py; actors.py has the people and servers that the tests talk to."""
