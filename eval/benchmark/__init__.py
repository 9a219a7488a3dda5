"""An experiment from one file: pictures, suspects, scores, a ledger, a report."""
