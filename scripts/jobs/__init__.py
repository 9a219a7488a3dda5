"""Jobs for rented hardware, each one file with its dependencies."""
