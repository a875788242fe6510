"""The benchmarks: what is measured, and what every unit means, is in bench/README.md."""
