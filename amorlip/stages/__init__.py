"""One module for each rule of the workflow, of the same name, with a function `run`.

`amorlip STAGE --option value` calls `amorlip.stages.STAGE.run(option=value)`.
"""
