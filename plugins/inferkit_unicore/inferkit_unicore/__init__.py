"""Studies on HPC sites through UNICORE."""
