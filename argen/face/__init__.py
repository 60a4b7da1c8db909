"""One FaceTrack per clip, from one of three readers: the measuring part of Affective Semantic Injection."""
