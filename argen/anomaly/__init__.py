"""Few-shot multimodal anomaly detection with hypergraphs (CIF), as a gate and on its own benchmarks."""
