"""Each object against its commanded box: does what is seen there move with it, and stay what it is?"""
