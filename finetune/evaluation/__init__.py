"""What a world model can do, measured on held-out clips of every domain: its losses, its motion and its pictures."""
