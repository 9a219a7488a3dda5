"""The page: what it says, draws and looks like, and how its widgets reach `cgidm`."""
