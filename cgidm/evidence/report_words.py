"""The sentences of a report that are the same for every run."""

MEANINGS = {
    "mirror": "whether the suspect knows the picture better than its mirror image. 0: equally well. Most used: above 1",
    "mirror_of_square": "the same of the centre square: the suspect's file does not note how pictures were framed. The "
    "smaller p-value of the two counts twice",
    "loss_contrast": "how much better the suspect knows the picture than its base does. 0: no better",
    "residual": "the same, less what null models that left the picture out make of it. 0: like them",
    "removed_cosine": "likeness of the recovery to the original where it was removed. High for easy pictures, too",
    "removed_gain": "the same, minus the likeness of the start. Above 0: the suspect brought the picture closer",
    "removed_alignment": "whether the recovery moved towards the original. 1: straight to it. 0: only by chance",
    "alignment_difference": "the same, minus that of the mirror image. 0: it brings back neither better than the other",
    "clip": "likeness of the full pictures as CLIP sees them",
    "dino": "likeness of the full pictures as DINO sees them",
    "efficientnet_lite0": "likeness of the full pictures as EfficientNet-Lite0 sees them",
}
LIMITS = (  # 2 and 3 speak of control pictures
    "“No evidence” does not mean that the picture was never used. A picture that was seen only a few times, or changed "
    "a lot before the training, may leave no trace.",
    "This is statistical evidence. Any single answer can be wrong, at the rate stated above. Neither that rate nor the "
    "p-value is the chance that the picture was not used. That chance depends on everything else that is known.",
    "The error rate holds if the control pictures are like the picture in every way except that they were certainly "
    "not used. They must be other works of the same artist, not works of somebody else.",
    "Every recovery looks a little like the original. Do not judge by the recovered picture alone. Compare the score "
    "with those of the control pictures.",
    "Whether such a use was allowed is another question.",
)
MIRRORED_IMAGE = (
    "The last image was recovered in the same way from the mirror image of the picture, and mirrored back. A suspect "
    "that was trained on the picture, without flips, tends to bring back the picture better than its mirror image. The "
    "answer does not rest on these images."
)
SCORE_ERRORS = (
    "After ± stands the Monte Carlo standard error: how much the score would differ with other random noise. The noise "
    "is the same for every picture and every suspect, so nobody can choose it, and the error rates hold with it."
)
MIRROR_LIMITS = (
    "The mirror test sees nothing where the trainer mirrored its pictures at random.",
    "It cannot tell a used picture from one that shares a large part with it: another of a series, with the same "
    "frame, figure or lettering. It says “this picture, or one much like it”.",
    "Styles differ in how much they tell left from right. The error rate allows for nine artists in ten.",
)
BANK_LIMIT = (
    "The error rate holds if the models of the bank were made as the suspect was: from the same base, with as many "
    "steps, on other pictures of the same kind."
)
METHOD = (
    "The suspect was made from a public model, its base, by further training. Both are diffusion models: they estimate "
    "the noise in a noisy picture.",
    "The error of this estimate is smaller for pictures that a model was trained on. The error of the base minus the "
    "error of the suspect, on the same noise, is called the contrast. It shows how much better the suspect knows a "
    "picture than its base does.",
    "In the mirror test the contrast of the picture is compared with that of its mirror image, part by part. Style and "
    "subject raise both alike; a training without flips showed the suspect only one of the two. The p-value is the "
    "share of pictures that were not used whose score is as high.",
    "The contrast is also compared with that of control pictures, which were certainly not used. The p-value is the "
    "share of these that score as high; the picture itself counts as one of them.",
    "With a bank of null models there are no control pictures. Each model left out some of the pictures. What a "
    "picture scores on average under the models that left it out is taken off its score. What is left is ranked among "
    "what is left of the other pictures, under models that left them out.",
    "Where the mirror test can be asked, it decides whether the answer is “consistent with training”: together with a "
    "bank if there is one, else alone. The control test decides what its silence means.",
    "A second experiment shows what the suspect knows. Half of the picture is removed in small blocks. The gaps are "
    "then changed step by step, in the direction that raises the contrast.",
    "If the suspect was trained on the picture, the gaps tend to fill with what was there.",
    "The recovery is compared with the original in the removed half alone. These scores stand beside the answer, which "
    "does not rest on them.",
    "Every random number follows from a recorded seed, the bytes of the picture or those of the models. So the run can "
    "be repeated.",
    "The method is CGI-DM (Wu et al., CVPR 2024). The control pictures and the p-value are additions of this tool.",
)
CHECKING = (
    "This report belongs to a bundle of evidence. The bundle holds the record of the run (result.json), every picture "
    "as the method saw it, without loss, and a manifest with the SHA-256 of each file. With the bundle, anybody can "
    "check whether a single byte was changed. The same command derives every p-value, answer, flag and rate from the "
    "scores once more, and makes this report again:",
    "Nothing in the bundle confirms the date, the names, the commits, the machine, or what was noted of the files. "
    "They are as whoever made it states them.",
    "Without this tool, sha256sum -c seal.txt checks the manifest, which states the SHA-256 of all other files. A seal "
    "shows a change only to those who know it from before. So write it down, or sign it, when the bundle is handed "
    "over.",
    "Models are the same only if their weights have the SHA-256 that is stated here. On another machine, scores may "
    "differ in their last digits. The command states how much it allows.",
)
LINEUP_RULES = (
    "Somebody who handed over one of the pictures, or has seen one, cannot be the observer. Nobody observes twice.",
    "Do not add up the choices of several persons. They see the same panels, and what stands out by accident stands "
    "out to all of them. Decide before the first choice whose choices count.",
    "The result holds if the control pictures are like the others in every way except that they were not used. A "
    "picture of another style or subject than its decoys can be found by that alone.",
    "The result says that a recovery stands out to a person, not by how much. The scores say that.",
)


MIRROR_SOURCES = {
    "table": "scores of pictures that other suspects of this base were not trained on",
    "own table": "scores of pictures that other suspects of this base were not trained on. Whoever made this report "
    "handed them over; they do not ship with the tool",
    "pictures": "reference pictures by other hands, under the very suspect",
}


def likelihood_sentence(ratio: float, low: float) -> str:
    """State a likelihood ratio of the mirror test's score, and what it is not."""
    about, least = (f"{float(f'{value:.2g}'):g}" for value in (ratio, low))
    return (
        f"The mirror test's score is about {about} times as likely for a used picture as for one that was not used. "
        f"With another choice of artists this number would be at least {least} in 19 of 20 cases. It was measured on "
        "adapters that lie as far from their base and were trained without mirroring. It is not the chance that the "
        "picture was used."
    )
