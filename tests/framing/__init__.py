"""Tests of cgidm.framing."""
