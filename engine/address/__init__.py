"""What the text of an address shows: its syntax, entries in lists, a person's name. Pure."""
