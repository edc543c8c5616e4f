"""What the command lines share."""

import contextlib
import io
import os
import signal
import sys
import threading

import pytest

from stylesdf.__main__ import build_parser
from stylesdf.terminal import Interruption, Parser, terminal
from train.arguments import parser


@pytest.mark.parametrize("text", ["-1e-05", "-1E+0", "-.5e-1", "-0.2", "-7", "-inf", "-1_0"])
def test_negative_numbers_are_values_of_both_command_lines(text):
    number = pytest.approx(float(text))
    if text != "-inf":
        morph = ["morph", "--seeds", "3,7", "--yaw", text, "--yaw-range", text, "--out", "a.gif"]
        args = build_parser().parse_args(morph)
        assert args.yaw == args.yaw_range == number
    convert = ["convert", "a.pt", "a", "--preset", "ffhq", "--fov-deg", text, "--scene-radius", text]
    args = build_parser().parse_args(convert)
    assert args.fov_deg == args.scene_radius == number
    args = parser("").parse_args(["evaluate", "model", "--truncation", text, "1", text, "--out", "-metrics"])
    assert args.truncation == [number, 1.0, number] and str(args.out) == "-metrics"
    args = parser("").parse_args(["people", "--glasses-share", text, "--hat-share", text, "--out", "a"])
    assert args.glasses_share == args.hat_share == number


@pytest.mark.parametrize("arguments", [["--out", "-head.glb"], ["--out=-head.glb"], ["--out", "-h.glb"], ["--out=--a"]])
def test_names_may_begin_with_a_dash(arguments):
    args = build_parser().parse_args(["mesh", "--seed", "3", "--model", "-model", *arguments])
    assert str(args.out) == arguments[-1].removeprefix("--out=") and args.model == "-model"
    assert build_parser().parse_args(["info", "-model"]).model == "-model"


@pytest.mark.parametrize("arguments", [["-h"], ["mesh", "-h"]])
def test_the_one_option_with_a_single_dash_is_help(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(arguments)
    assert stop.value.code == 0 and "usage:" in capsys.readouterr().out


def test_options_are_still_options():
    with pytest.raises(SystemExit):
        Parser().parse_args(["--unknown"])
    with pytest.raises(SystemExit):
        build_parser().parse_args(["mesh", "--out", "--seed", "3"])  # a value is missing


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_process_let_it_clean_up_first(number):
    before, cleaned = signal.signal(number, signal.SIG_DFL), []  # under nohup it is ignored
    try:
        with pytest.raises(Interruption) as stop, terminal():
            try:
                os.kill(os.getpid(), number)
                signal.pause()
            finally:
                cleaned.append(number)
        assert stop.value.status == 128 + number and cleaned == [number]
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with terminal():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_works_beside_the_main_thread():
    ended = []

    def work():
        with terminal():
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]


def test_output_that_cannot_be_written_is_an_error(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left on device: 'standard output'"), terminal():
            print("line")
        print("more", flush=True)  # goes nowhere, and is no second error


def test_names_that_cannot_be_shown_are_written_as_escapes(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    with contextlib.suppress(UnicodeEncodeError), terminal():
        print("頭 \udce9")
    assert shown.getvalue() == b"\\u982d \\udce9\n"
