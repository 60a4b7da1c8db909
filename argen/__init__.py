"""ARGen: a folder of face clips in, a bigger one out; every synthetic clip judged and traceable."""
