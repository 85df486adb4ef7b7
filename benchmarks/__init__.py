"""One command per figure of the README; each long one goes on where it was stopped."""
