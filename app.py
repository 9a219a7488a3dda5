"""The Space: a page where anybody asks whether a picture was used to train a model. Run it with `python app.py`."""

from cgidm.page.launch import launch

if __name__ == "__main__":
    launch()
