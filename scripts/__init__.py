"""Tools of this repository; none ships."""
