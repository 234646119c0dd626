"""One source: its circuit, its keys, its pace."""
