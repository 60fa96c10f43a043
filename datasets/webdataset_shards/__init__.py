"""Reading and writing of WebDataset shards, with an index, a data card and Croissant metadata."""
