# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Holds instructions per frame against their budget: awk -v over=PERCENT -v strict=yes -f insn.awk
# BUDGET COUNTS. Both files have lines "NAME INSTRUCTIONS". Fails for a path that is more than PERCENT
# over its budget, for one without budget, and for a budget whose path wasn't measured. Without
# strict nothing is compared.
FILENAME == ARGV[1] {
	if (!/^#/)
		budget[$1] = $2
	next
}

{
	change = ""
	if (!strict) {
		verdict = "skip"
	} else if (!($1 in budget)) {
		verdict = "FAIL"
		change = "  not in the budget: BUDGET=update"
	} else {
		verdict = $2 > budget[$1] * (1 + over / 100) ? "FAIL" : "ok"
		change = sprintf("  budget %.1f, %+.1f %%", budget[$1], 100 * ($2 / budget[$1] - 1))
		if ($2 < budget[$1] * (1 - over / 100))
			change = change ": BUDGET=update keeps it"
	}
	printf "%-4s insn/%-22s %7.1f%s\n", verdict, $1, $2, change
	count[verdict]++
	delete budget[$1]
}

END {
	for (name in budget) {
		if (!strict)
			break
		printf "FAIL insn/%-22s %7s  in the budget, but not measured\n", name, "-"
		count["FAIL"]++
	}
	printf "%d passed, %d failed", count["ok"], count["FAIL"]
	if (count["skip"])
		printf ", %d skipped", count["skip"]
	printf "\n"
	exit count["FAIL"] > 0
}
