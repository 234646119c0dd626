"""What the text of an address alone tells: syntax, lists, whose name it may hold. Pure."""
