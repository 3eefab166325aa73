"""What makes small requests cheap: between uvicorn and a handler, without a task, a layer or a system call too many."""
