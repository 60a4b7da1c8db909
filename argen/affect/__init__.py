"""Affective Semantic Injection (after the ARGen abstract): a target in words and in Action Units."""
