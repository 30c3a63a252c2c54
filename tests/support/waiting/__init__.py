"""What processes of tests import by themselves."""
