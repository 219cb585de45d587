"""Every key of the configuration: one module for each folder of `config/`, and what reads and checks the files."""
