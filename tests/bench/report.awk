# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Makes of scripts/bench's results, "ROW PEER KEY VALUE..." each, a table, JSON and gnuplot's data.
# Needs gawk. Variables: peers, rounds, seconds; files to write: json, data.

BEGIN {
	n_peers = split(peers, peer, " ")
	title["vxs"] = "vxs"; title["testpmd"] = "testpmd"; title["ovs"] = "OVS-DPDK"
	title["ceiling"] = "ceiling"
	n_metrics = split("rate p50 p99 p99.9", metric, " ")
}

{
	if (!($1 in known)) {
		known[$1] = 1
		row[++n_rows] = $1
	}
	n = ++count[$1, $2]
	for (i = 3; i < NF; i += 2)
		value[$1, $2, $i, n] = $(i + 1)
}

# The median of list[1..n]; low and high are its range.
function median(list, n,    sorted) {
	if (!n)
		return ""
	asort(list, sorted, "@val_num_asc")
	low = sorted[1]; high = sorted[n]
	return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function median_of(r, p, m,    list, i) {
	delete list
	for (i = 1; i <= count[r, p]; i++)
		list[i] = value[r, p, m, i] + 0
	return median(list, count[r, p] + 0)
}

# The median of vxs's figure divided by another's in the same round.
function ratio_of(r, p, m,    list, i, n) {
	delete list
	for (i = 1; i <= count[r, "vxs"] && i <= count[r, p]; i++)
		if (value[r, p, m, i] + 0 > 0)
			list[++n] = value[r, "vxs", m, i] / value[r, p, m, i]
	return median(list, n + 0)
}

function sum_of(r, p, m,    i, sum) {
	for (i = 1; i <= count[r, p]; i++)
		sum += value[r, p, m, i]
	return sum + 0
}

# Three digits, and no more of them than make sense.
function short(x) {
	return x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : sprintf("%.2f", x)
}

# One row of the table, one of gnuplot's data: medians, and below the range of each.
function print_row(r, m,    name, unit, i, scale, line, ranges, middle, points) {
	name = m == "rate" ? r : r " " m
	unit = m == "rate" ? "Mpps" : "us"
	scale = m == "rate" ? 1e6 : 1e3
	line = sprintf("%-21s %-4s", name, unit)
	ranges = sprintf("%26s", "")
	points = "\"" name "\" " unit
	for (i = 1; i <= n_peers; i++) {
		middle = median_of(r, peer[i], m)
		line = line sprintf(" %11s", middle == "" ? "-" : short(middle / scale))
		ranges = ranges sprintf(" %11s", middle == "" ? "" :
					short(low / scale) "-" short(high / scale))
		points = points (middle == "" ? " NaN NaN NaN" :
				 sprintf(" %g %g %g", middle / scale, low / scale, high / scale))
	}
	for (i = 1; i <= n_peers; i++) {
		if (peer[i] == "vxs" || !has_vxs)
			continue
		middle = ratio_of(r, peer[i], m)
		line = line sprintf(" %7s", middle == "" ? "-" : sprintf("%.2f", middle))
	}
	print line
	print ranges
	print points >data
}

function print_losses(r,    i, line, sent, lost) {
	for (i = 1; i <= n_peers; i++) {
		sent = sum_of(r, peer[i], "sent")
		lost = sum_of(r, peer[i], "lost")
		if (lost)
			line = line sprintf("  %s %.2g %% (%d)", title[peer[i]], 100 * lost / sent, lost)
	}
	if (line)
		print "  lost:" line
}

function json_list(r, p, m,    i, line) {
	for (i = 1; i <= count[r, p]; i++)
		line = line (i > 1 ? ", " : "") value[r, p, m, i]
	return "[" line "]"
}

function json_metric(r, m,    i, middle, line, ratios) {
	for (i = 1; i <= n_peers; i++) {
		middle = median_of(r, peer[i], m)
		if (middle == "")
			continue
		line = line sprintf("%s\n      \"%s\": {\"median\": %.0f, \"min\": %.0f, \"max\": %.0f, \"rounds\": %s}",
				    line ? "," : "", peer[i], middle, low, high, json_list(r, peer[i], m))
		middle = ratio_of(r, peer[i], m)
		if (peer[i] != "vxs" && middle != "")
			ratios = ratios sprintf("%s\"%s\": %.3f", ratios ? ", " : "", peer[i], middle)
	}
	return sprintf("    \"%s\": {\"unit\": \"%s\", \"vxs_to\": {%s},%s}", m,
		       m == "rate" ? "frames/s" : "ns", ratios, line)
}

function json_row(r,    i, m, line, losses) {
	for (m = 1; m <= n_metrics; m++)
		if (has_metric(r, metric[m]))
			line = line (line ? ",\n" : "") json_metric(r, metric[m])
	for (i = 1; i <= n_peers; i++)
		if (count[r, peer[i]])
			losses = losses sprintf("%s\"%s\": {\"sent\": %d, \"lost\": %d}",
						losses ? ", " : "", peer[i],
						sum_of(r, peer[i], "sent"), sum_of(r, peer[i], "lost"))
	return sprintf("  \"%s\": {\n%s,\n    \"frames\": {%s}}", r, line, losses)
}

function has_metric(r, m,    i) {
	for (i = 1; i <= n_peers; i++)
		if ((r, peer[i], m, 1) in value)
			return 1
	return 0
}

END {
	for (i = 1; i <= n_peers; i++)
		if (peer[i] == "vxs")
			has_vxs = 1
	head = sprintf("%-21s %-4s", "", "unit")
	for (i = 1; i <= n_peers; i++)
		head = head sprintf(" %11s", title[peer[i]])
	for (i = 1; has_vxs && i <= n_peers; i++)
		if (peer[i] != "vxs")
			head = head sprintf(" %7s", "/" (peer[i] == "ovs" ? "OVS" : \
						       peer[i] == "testpmd" ? "tstpmd" : "ceil"))
	print head
	for (r = 1; r <= n_rows; r++) {
		pinged = has_metric(row[r], "p50")
		for (m = pinged ? 2 : 1; m <= (pinged ? n_metrics : 1); m++)
			print_row(row[r], metric[m])
		print_losses(row[r])
		text = text (r > 1 ? ",\n" : "") json_row(row[r])
	}
	printf "\nMedians of %d rounds of %s s, their ranges below; Mpps: million frames a second, us: there and\n", \
		rounds, seconds
	print "back. The last columns are vxs's figure divided by the other's (medians of rounds)."
	printf "{\"rounds\": %d, \"seconds\": %s, \"rows\": {\n%s\n}}\n", rounds, seconds, text >json
}
