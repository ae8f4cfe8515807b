"""Which convolutions oneDNN computes rightly, each shape in a process of its own: the table of
docs/engine.md.

    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/convolution_survey.py grid ONEDNN_MAX_CPU_ISA=AVX2
    python benchmarks/convolution_survey.py drawn --number 6000 --seed 1 [--dtype bfloat16]
    [--layout contiguous]

prints a line for each shape that ends by a signal, touches memory that is not its own, or differs
from float64. Where a C compiler is found, allocations of 512 bytes and more end at a page that
cannot be touched, so that nothing outside goes unseen. Run it again before
`ahsar_eval/recording/layout.py` trusts another version.
"""

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2}  # of the largest entry
CHANNELS_OUT = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 32, 33, 64)
Shape = dict[str, Any]

GUARD = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
extern void *__libc_malloc(size_t), *__libc_realloc(void *, size_t), *__libc_calloc(size_t, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
enum { PAGE = 4096, SLOTS = 65536 };
static struct { uintptr_t at; size_t size, length; char *base; } slot[SLOTS];
static int on, lock;
void guard(int value) { on = value; }
static void hold(void) { while (__sync_lock_test_and_set(&lock, 1)); }
static void let_go(void) { __sync_lock_release(&lock); }
static size_t place(uintptr_t at) { return (at >> 4) * 11400714819323198485ull >> 48; }
static void *guarded(size_t align, size_t size) {
  size_t length = (size + align + PAGE - 1) / PAGE * PAGE;
  char *base = mmap(0, length + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return 0;
  mprotect(base, PAGE, PROT_NONE);
  mprotect(base + PAGE + length, PAGE, PROT_NONE);
  uintptr_t end = (uintptr_t)base + PAGE + length, at = (end - size) & ~(align - 1);
  memset((char *)at, 0xCB, size);
  memset((char *)at + size, 0xA5, end - at - size);
  hold();
  size_t i = place(at);
  while (slot[i].at > 1) i = (i + 1) % SLOTS;
  slot[i].at = at; slot[i].size = size; slot[i].length = length + 2 * PAGE; slot[i].base = base;
  let_go();
  return (void *)at;
}
static int find(uintptr_t at) {
  for (size_t i = place(at); slot[i].at; i = (i + 1) % SLOTS) if (slot[i].at == at) return i;
  return -1;
}
void *malloc(size_t n) { return on && n >= 512 ? guarded(16, n) : __libc_malloc(n); }
void *calloc(size_t a, size_t b) {
  if (!on || a * b < 512) return __libc_calloc(a, b);
  void *p = guarded(16, a * b);
  return memset(p, 0, a * b);
}
void free(void *p) {
  if (!p) return;
  hold();
  int i = find((uintptr_t)p);
  if (i < 0) { let_go(); __libc_free(p); return; }
  unsigned char *end = (unsigned char *)slot[i].base + slot[i].length - PAGE;
  for (unsigned char *q = (unsigned char *)p + slot[i].size; q < end; q++) if (*q != 0xA5) _exit(97);
  char *base = slot[i].base;
  size_t length = slot[i].length;
  slot[i].at = 1;
  let_go();
  munmap(base, length);
}
void *realloc(void *p, size_t n) {
  if (!p) return malloc(n);
  hold();
  int i = find((uintptr_t)p);
  size_t size = i < 0 ? 0 : slot[i].size;
  let_go();
  if (i < 0) return __libc_realloc(p, n);
  void *q = malloc(n);
  memcpy(q, p, size < n ? size : n);
  free(p);
  return q;
}
void *memalign(size_t a, size_t n) { return on && n >= 512 ? guarded(a < 16 ? 16 : a, n) : __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n) { return (*out = memalign(a, n)) ? 0 : ENOMEM; }
"""


def grid() -> Iterator[Shape]:
    """1 to 64 channels in, 1x1 and 3x3, strides 1 and 2, each of the three passes; contiguous up to
    24 channels.
    """
    for layout in ("last", "contiguous"):
        for inputs in range(1, 65 if layout == "last" else 25):
            for outputs in CHANNELS_OUT:
                for kernel, stride in ((1, 1), (1, 2), (3, 1), (3, 2)):
                    for task in ("forward", "by input", "by weight"):
                        yield shape(
                            3,
                            inputs,
                            outputs,
                            (kernel, kernel),
                            stride,
                            kernel // 2,
                            1,
                            1,
                            (10, 10),
                            layout,
                            layout,
                            task,
                            1,
                        )


def drawn(number: int, seed: int) -> Iterator[Shape]:
    """Shapes of chance: groups, dilation, kernels that are not square, any batch and size, weight
    and image in either order.
    """
    one = random.Random(seed)
    while number:
        groups: Any = one.choice([1] * 6 + [2, 4, "each", "each"])
        inputs = (
            one.randint(1, 64)
            if one.random() < 0.6
            else one.choice([1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512])
        )
        outputs = (
            one.randint(1, 64)
            if one.random() < 0.6
            else one.choice([1, 2, 3, 4, 8, 10, 16, 32, 64, 128, 256])
        )
        if groups == "each":
            groups, outputs = inputs, inputs * one.choice([1, 1, 2])
        inputs, outputs = (
            channels if channels % groups == 0 else channels * groups
            for channels in (inputs, outputs)
        )
        kernel = one.choice(
            [*[(k, k) for k in (1, 1, 1, 2, 3, 3, 3, 4, 5, 7, 9, 11)], (1, 3), (3, 1), (5, 1)]
        )
        stride, dilation = one.choice([1, 1, 2, 2, 3, 4, 5]), one.choice([1, 1, 1, 1, 2, 3])
        padding = one.choice([0, 0, 1, 2]) if kernel == (1, 1) else one.choice([0, 1, 2, 3])
        height = one.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 28, 32])
        sides = height, one.choice([height, height, height, one.randint(1, 20)])
        batch = one.choice([1, 1, 2, 3, 4, 5, 6, 8, 16, 33])
        too_small = any(
            (k - 1) * dilation + 1 > side + 2 * padding
            for k, side in zip(kernel, sides, strict=True)
        )
        if too_small or batch * max(inputs, outputs) * sides[0] * sides[1] > 600_000:
            continue
        layout = one.choice(["last", "last", "last", "contiguous"])
        weight = one.choice([layout, layout, "last", "contiguous"])
        task = one.choice(["forward", "by input", "by weight"])
        yield shape(
            batch,
            inputs,
            outputs,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            sides,
            layout,
            weight,
            task,
            one.choice([1, 1, 2]),
        )
        number -= 1


def shape(*values: Any) -> Shape:
    names = (
        "batch inputs outputs kernel stride padding dilation groups sides layout weight task "
        "threads"
    )
    return dict(zip(names.split(), values, strict=True))


def error(one: Shape, dtype: str) -> float:
    """The largest difference to float64, relative to the largest entry."""
    import torch

    torch.set_num_threads(one["threads"])
    kind = getattr(torch, dtype)
    seed = torch.Generator().manual_seed(1)

    def values(*sides: int) -> Any:
        return torch.randn(*sides, generator=seed, dtype=torch.float64).to(kind).double()

    x = values(one["batch"], one["inputs"], *one["sides"])
    w = values(one["outputs"], one["inputs"] // one["groups"], *one["kernel"])
    rest = (
        [one["stride"]] * 2,
        [one["padding"]] * 2,
        [one["dilation"]] * 2,
        False,
        [0, 0],
        one["groups"],
    )
    out = torch.ops.aten.convolution(x, w, None, *rest)
    came = values(*out.shape)

    def computed(x: Any, w: Any, came: Any) -> Any:
        if one["task"] == "forward":
            return torch.ops.aten.convolution(x, w, None, *rest)
        wanted = [one["task"] == "by input", one["task"] == "by weight", False]
        return next(
            g
            for g in torch.ops.aten.convolution_backward(came, x, w, None, *rest, wanted)
            if g is not None
        )

    exact = computed(x, w, came)
    order = {"last": torch.channels_last, "contiguous": torch.contiguous_format}
    if "convolution_survey_guard" in os.environ.get("LD_PRELOAD", ""):
        ctypes.CDLL(None).guard(1)
    laid = (
        (t.to(kind).clone().contiguous(memory_format=order[one[how]]))
        for t, how in ((x, "layout"), (w, "weight"), (came, "layout"))
    )
    found = computed(*laid)
    worst = float((found.double() - exact).abs().max() / exact.abs().max().clamp_min(1e-30))
    return worst if worst == worst else float("inf")


def verdict(one: Shape, dtype: str) -> str:
    """What is wrong with a shape, tried in a child of this process; "" for nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.alarm(60)
        try:
            os.write(writer, repr(error(one, dtype)).encode())
            os._exit(0)
        except BaseException as failure:
            os.write(writer, f"{type(failure).__name__}: {failure}".encode()[:200])
            os._exit(3)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    if os.WEXITSTATUS(status) == 97:
        return "wrote behind an allocation"
    if os.WEXITSTATUS(status):
        return text or f"exit {os.WEXITSTATUS(status)}"
    return f"error {float(text):.1e}" if float(text) > TOLERANCE[dtype] else ""


def with_guard() -> None:
    """Start again with the guarding allocator, where it can be compiled."""
    compiler = shutil.which("cc")
    if compiler is None or os.environ.get("LD_PRELOAD"):
        return
    library = Path(tempfile.mkdtemp()) / "convolution_survey_guard.so"
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)],
        input=GUARD,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        os.execve(
            sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_PRELOAD": str(library)}
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("which", choices=["grid", "drawn"])
    options.add_argument("--number", type=int, default=6000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--layout",
        choices=["any", "last", "contiguous"],
        default="any",
        help="of weights and images alike",
    )
    options.add_argument("--dtype", choices=list(TOLERANCE), default="float32")
    chosen = options.parse_args()
    with_guard()
    import torch  # once, before all children: none of its threads run yet

    tried = wrong = 0
    for one in grid() if chosen.which == "grid" else drawn(chosen.number, chosen.seed):
        if chosen.layout != "any":
            one.update(layout=chosen.layout, weight=chosen.layout)
        tried += 1
        if said := verdict(one, chosen.dtype):
            wrong += 1
            print(json.dumps({**one, "wrong": said}), flush=True)
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "none")
    print(
        f"torch {torch.__version__}, oneDNN's limit {limit}, {chosen.dtype}: {tried} shapes, "
        f"{wrong} wrong"
    )


if __name__ == "__main__":
    main()
