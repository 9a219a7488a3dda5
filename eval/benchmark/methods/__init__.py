"""Every method of the benchmark under one interface: CGI-DM, the pipelines of the paper, tests of the literature.

Time steps and norms are fixed beforehand, never chosen on the pictures that are judged. A step is given on 1000 rows
and taken at the same share of any other schedule. SecMI_NNs and PFAMI_NNs are left out: their networks are trained on
labelled members, which a user does not have. RAPID needs them, too: `eval.analysis.rivals` fits it on other artists.
"""

from eval.benchmark.methods.angle import AngleToNoise, Anisotropy
from eval.benchmark.methods.base import Answer, Case, MembershipTest, Method, Statistic
from eval.benchmark.methods.clid import CLiD
from eval.benchmark.methods.fcre import FCRE
from eval.benchmark.methods.generation import DDNM, Img2Img, Text2Img
from eval.benchmark.methods.loss import Loss, LossContrast
from eval.benchmark.methods.mc_cal import CalibratedLoss
from eval.benchmark.methods.mirror import Mirror
from eval.benchmark.methods.pfami import PFAMI
from eval.benchmark.methods.pia import PIA
from eval.benchmark.methods.quantile import QuantileRegression
from eval.benchmark.methods.recover_like import RecoverLike
from eval.benchmark.methods.recovery import CGIDM
from eval.benchmark.methods.registry import METHODS, find_method, method_names, package_of
from eval.benchmark.methods.secmi import SecMI
from eval.benchmark.methods.sima import SimA

__all__ = [
    "CGIDM",
    "DDNM",
    "FCRE",
    "METHODS",
    "PFAMI",
    "PIA",
    "AngleToNoise",
    "Anisotropy",
    "Answer",
    "CLiD",
    "CalibratedLoss",
    "Case",
    "Img2Img",
    "Loss",
    "LossContrast",
    "MembershipTest",
    "Method",
    "Mirror",
    "QuantileRegression",
    "RecoverLike",
    "SecMI",
    "SimA",
    "Statistic",
    "Text2Img",
    "find_method",
    "method_names",
    "package_of",
]
