"""`accelerate launch -m argen.cli.launch SRC OUT ...`: argen-augment as one of several processes."""

from argen.cli import augment_main

if __name__ == "__main__":
    augment_main()
