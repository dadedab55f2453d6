"""What is measured, one module per question. Each has `measure(arena)`, which runs one round of it on both servers."""
