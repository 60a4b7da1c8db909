"""One FaceTrack per clip, from one of three readers: the measuring part of Affective Semantic Injection.

`reader.load_reader` gives the recipe's reader: `mediapipe_reader` (real faces, no GPU), `pyfeat_reader`
(py-feat's networks) or the puppets' own. `mesh` and `anatomy` say how Action Units move a face, `geometry`
solves that backwards, `models` finds weights, `cache` keeps tracks. `judge` is for figures and for
choosing adapters.
"""
