"""The suite. tests/PACKAGE/test_MODULE.py covers chat/PACKAGE/MODULE.py; support/ has what all tests share."""
