"""The commands that need a checkout: they start servers, measure, or train."""

from streaming.cli.group import Command

COMMANDS = {
    "up": Command("infra.cli.local:up", "Start broker, online store, all jobs and the HTTP door here."),
    "down": Command("infra.cli.local:down", "Stop what runs here, or what was left."),
    "status": Command("infra.cli.local:status", "What runs here, and whether it answers."),
    "doctor": Command("infra.cli.local:doctor", "What this machine lacks, and what to do."),
    "demo": Command("infra.cli.local:demo", "The main job at work: it learns, is turned, and meets a shock."),
    "traffic": Command("infra.cli.local:traffic", "Shoppers of the simulated shop, who react to their slates."),
    "chaos": Command("infra.cli.chaos:chaos", "Kill parts of the system under load, and see what is lost."),
    "bench": Command("infra.cli.bench:bench", "Measure; nothing else should run beside it."),
}
