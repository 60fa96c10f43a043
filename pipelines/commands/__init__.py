"""The commands of the command line: what each is for, what it is given, and which settings it reads."""
