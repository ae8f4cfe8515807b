"""Names of the ledger's steps, in the order they are walked, each with the question on which two
conventions differ.
"""

NO_RULE = "layers without a rule"
FIRST_LAYER = "steps of the first layer"
AVERAGE_POOLING = "average pooling before weights"
INTEGERS = "integer spikes"
JUDGED = "calls judged by their values"
ZERO_INPUTS = "zero inputs"
PADDING = "products on padding"
ZERO_WEIGHTS = "zero weights"
RATES = "mean rates"
BATCH_NORM = "batch norm"
POOLING = "pooling"
MEANS = "means"
ADDITIONS = "residual additions"
NEURONS = "neurons"
BIASES = "biases"
MATMULS = "matmuls"

REASONS: dict[str, str] = {
    NO_RULE: "whether a kind of layer with weights is known at all",
    FIRST_LAYER: "whether a static image's layer is multiplied at every time step or once",
    AVERAGE_POOLING: (
        "whether a pooled spike is a fraction to multiply by, or an accumulation "
        "through pooling and weights"
    ),
    INTEGERS: "whether a sum of k spikes is a value to multiply by, or k accumulations",
    JUDGED: (
        "whether a call whose values look like spikes is accumulated, whatever its layer "
        "receives elsewhere; depends on the batch"
    ),
    ZERO_INPUTS: "whether inputs that are zero are multiplied",
    PADDING: "whether positions where the kernel lies on padding are multiplied",
    ZERO_WEIGHTS: "whether weights that are zero are used",
    RATES: (
        "mean rate × all products, or every spike with the outputs it reaches: at borders it "
        "reaches fewer"
    ),
    BATCH_NORM: "whether normalisation is counted apart or folded into the layer before it",
    POOLING: "whether pooling is counted as operations of its own",
    MEANS: "whether the sums of a mean are counted, such as that of the logits over time",
    ADDITIONS: (
        "whether additions outside spiking layers are counted, those of residual branches above all"
    ),
    NEURONS: "whether and how updates of membrane potentials are counted",
    BIASES: "whether bias additions are counted",
    MATMULS: "whether and how products of two tensors of the network are counted, as in attention",
}
