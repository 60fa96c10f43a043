"""Studies: experiments that anyone can run again, each with a page of what was found."""
