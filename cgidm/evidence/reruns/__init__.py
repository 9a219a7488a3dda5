"""Runs that are repeated, and null models that are trained again: is what a bundle measured what comes out?"""
