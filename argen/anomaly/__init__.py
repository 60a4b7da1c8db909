"""Few-shot multimodal anomaly detection with hypergraphs (CIF), as a gate and on its own benchmarks.

After arXiv 2511.05966. From k normal samples it says of a new one how strange it is and where:

    patches -> hypergraph -> memory -> propagation -> search -> fusion        (`detector.py` runs the row)

Each file is one step; the steps know patch features and a foreground, and nothing of where they came from.
"""
