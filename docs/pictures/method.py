"""Draw docs/images/method.png: one training step of AmorLIP, as the recipes of the tables run it."""

from __future__ import annotations

from boxes import BLUE, GREEN, GREY, ORANGE, QUIET, Drawing
from matplotlib.patches import Rectangle


def encoders(drawing: Drawing) -> None:
    """A batch of pairs becomes features, and features a matrix of similarities and its partition functions."""
    for y, source, encoder, end in [(4.95, "images", "image\nencoder", 4.85), (4.1, "captions", "text\nencoder", 4.65)]:
        drawing.text(0.55, y + 0.3, source)
        drawing.arrow((1.0, y + 0.3), (1.25, y + 0.3))
        drawing.box(1.25, y, 1.0, 0.6, encoder, ORANGE)
        drawing.arrow((2.25, y + 0.3), (3.3, end))
    drawing.text(2.85, 5.2, "$x_i$")
    drawing.text(2.85, 4.3, "$y_j$")
    side = 0.22
    for row in range(4):
        for column in range(4):
            fill = "#E58A4E" if row == column else "#F3F3F3"
            corner = (3.4 + column * side, 4.98 - row * side)
            drawing.axes.add_patch(Rectangle(corner, side, side, facecolor=fill, edgecolor="#888888", linewidth=0.6))
    drawing.text(3.84, 4.13, r"similarities $\tau\,s_{ij}$")
    drawing.arrow((4.35, 4.75), (4.9, 4.75))
    drawing.box(4.9, 4.2, 3.15, 1.1, "", GREY)
    drawing.text(6.475, 5.08, "partition functions of this batch")
    drawing.text(6.475, 4.63, r"$Z_i = \sum_j w_{ij}\,e^{\tau s_{ij}}$", size=11)


def stage_one(drawing: Drawing) -> None:
    """Small networks learn log Z from single features."""
    drawing.band(0.15, 2.02, 8.0, 1.78, "Stage I: fit the networks", BLUE)
    drawing.box(0.4, 2.2, 1.7, 0.85, "features,\nwithout gradient", "white")
    drawing.arrow((2.1, 2.62), (2.5, 2.62))
    drawing.box(2.5, 2.2, 2.0, 0.85, "", "white")
    drawing.text(3.5, 2.83, "two small networks")
    drawing.text(3.5, 2.44, r"$\log\lambda_\theta(x),\ \ \log\lambda_\theta(y)$")
    drawing.arrow((5.1, 2.62), (4.5, 2.62))
    drawing.text(4.8, 2.76, "fit", size=9)
    drawing.box(5.1, 2.2, 2.95, 0.85, "", "white")
    drawing.text(6.575, 2.83, "mix; the weight $\\beta$ grows with the epochs")
    drawing.text(6.575, 2.44, r"$Z_{comb} = \beta\,\lambda_{prev} + (1-\beta)\,Z$")
    drawing.arrow((7.0, 4.2), (7.0, 3.05))
    drawing.text(7.1, 3.4, "$Z$", ha="left")
    drawing.arrow((3.5, 3.05), (5.9, 3.05), bend=-0.2, line="dashed")
    drawing.text(4.7, 3.47, "$\\lambda_{prev}$: the networks of the last epoch", size=9, color=QUIET)


def stage_two(drawing: Drawing) -> None:
    """The encoders learn with the normalizer held constant."""
    drawing.band(0.15, 0.15, 8.0, 1.7, "Stage II: train the encoders", GREEN)
    drawing.box(0.4, 0.33, 4.6, 1.05, "", "white")
    left = r"$L = -2\tau s_{ii} + \sum_j w_{ij}\,\frac{e^{\tau s_{ij}}}{\lambda(x_i)}"
    drawing.text(2.7, 1.02, left + r" + \sum_i w_{ij}\,\frac{e^{\tau s_{ij}}}{\lambda(y_j)}$", size=11)
    drawing.text(2.7, 0.52, "pull pairs together, push the rest apart", size=9, color=QUIET)
    drawing.arrow((5.5, 0.85), (5.0, 0.85))
    drawing.box(5.5, 0.33, 2.55, 1.05, "", "white")
    drawing.text(6.775, 1.16, r"$\lambda = Z_{comb}$", size=11)
    drawing.text(6.775, 0.87, "a constant in the gradient")
    drawing.text(6.775, 0.53, "(normalizer: combined)", size=9, color=QUIET)
    drawing.arrow((7.0, 2.2), (7.0, 1.38))


def main() -> None:
    """Draw it and print the file's name."""
    drawing = Drawing(8.3, 5.7)
    encoders(drawing)
    stage_one(drawing)
    stage_two(drawing)
    print(drawing.save("method"))


if __name__ == "__main__":
    main()
