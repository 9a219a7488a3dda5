"""Membership inference methods of the literature under one interface, each as published and against the base.

Time steps and norms are fixed beforehand, never chosen on the pictures that are judged. A step is given on 1000 rows
and taken at the same share of any other schedule.

CLiD (Zhai et al., NeurIPS 2024) is left out. It compares the suspect's prediction given the caption with its
prediction given none, and an `EpsModel` has one prompt bound for good: there is no prediction without it to ask for,
and the base's prediction would be another quantity. SecMI_NNs and PFAMI_NNs are left out as well: their networks are
trained on labelled members, which a user does not have.
"""

from eval.methods.base import Contrast, Method, Statistic
from eval.methods.loss import Loss, LossContrast
from eval.methods.pfami import PFAMI
from eval.methods.pia import PIA
from eval.methods.secmi import SecMI
from eval.methods.sima import SimA

__all__ = ["METHODS", "PFAMI", "PIA", "Contrast", "Loss", "LossContrast", "Method", "SecMI", "SimA", "Statistic"]

_ALL: tuple[Method, ...] = (
    Loss(),
    Contrast(Loss(name="loss_at_step")),
    LossContrast(),
    *(form for method in (SecMI(), PIA(), PFAMI(), SimA()) for form in (method, Contrast(method))),
)
METHODS: dict[str, Method] = {m.name: m for m in _ALL}
