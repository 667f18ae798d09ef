# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Makes of scripts/bench's results, "ROW PEER KEY VALUE..." or "ROW PEER none WHY" each, a table, JSON
# and gnuplot's data. Needs gawk. Variables: peers, rounds, seconds; files to write: json, data.

# metric KEY UNIT DIVISOR JSON-UNIT: a value divided by it has the unit. They're printed in this order.
function add_metric(key, unit, divisor, json_unit)
{
	metric[++n_metrics] = key
	unit_of[key] = unit
	scale_of[key] = divisor
	json_unit_of[key] = json_unit
}

BEGIN {
	n_peers = split(peers, peer, " ")
	title["vxs"] = "vxs"; title["testpmd"] = "testpmd"; title["ovs"] = "OVS-DPDK"
	title["ceiling"] = "ceiling"
	ratio_title["testpmd"] = "/testpmd"; ratio_title["ovs"] = "/OVS"; ratio_title["ceiling"] = "/ceil"
	ratio_width["testpmd"] = 8; ratio_width["ovs"] = 7; ratio_width["ceiling"] = 6 # 100 columns in all
	add_metric("bits", "Gbit/s", 1e9, "bit/s")
	add_metric("overbridge", "x", 1, "bit/s / bit/s over a Linux bridge")
	add_metric("bridge", "Gbit/s", 1e9, "bit/s over a Linux bridge")
	add_metric("rate", "Mpps", 1e6, "frames/s")
	add_metric("generator", "%", 1, "% of the time that the generator had frames")
	add_metric("kept", "x", 1, "rate with idle VMs / rate without")
	add_metric("alone", "Mpps", 1e6, "frames/s without idle VMs")
	add_metric("p50", "us", 1e3, "ns")
	add_metric("p99", "us", 1e3, "ns")
	add_metric("p99.9", "us", 1e3, "ns")
	add_metric("cpu", "%", 1, "% of one CPU")
	add_metric("rss", "MiB", 1048576, "bytes")
	add_metric("own", "MiB", 1048576, "bytes")
	add_metric("calls", "/1000", 1e-3, "system calls/frame")
	add_metric("callrate", "/s", 1, "system calls/s")
}

{
	if (!($1 in known)) {
		known[$1] = 1
		row[++n_rows] = $1
	}
	if ($3 == "none") {
		remark[$1, $2] = substr($0, index($0, " none ") + 6)
		next
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

# A round may be without: nothing was divided by a rate of 0.
function median_of(r, p, m,    list, i, n) {
	delete list
	for (i = 1; i <= count[r, p]; i++)
		if ((r, p, m, i) in value)
			list[++n] = value[r, p, m, i] + 0
	return median(list, n + 0)
}

# The median of vxs's figure divided by another's in the same round. Of calls that are rarer than one
# in a thousand frames most are those of the connection.
function ratio_of(r, p, m,    list, i, n, least) {
	delete list
	least = m == "calls" ? 1e-3 : 0
	for (i = 1; i <= count[r, "vxs"] && i <= count[r, p]; i++)
		if ((r, p, m, i) in value && (r, "vxs", m, i) in value && value[r, p, m, i] + 0 > least)
			list[++n] = value[r, "vxs", m, i] / value[r, p, m, i]
	return median(list, n + 0)
}

function sum_of(r, p, m,    i, sum) {
	for (i = 1; i <= count[r, p]; i++)
		if ((r, p, m, i) in value)
			sum += value[r, p, m, i]
	return sum + 0
}

# Three digits, and no more of them than make sense.
function short(x) {
	return x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : sprintf("%.2f", x)
}

# Its name needs not be told: the row has no other, or none that is like it.
function is_main(m) {
	return m ~ /^(bits|rate|calls|callrate)$/
}

# What is in the JSON only.
function is_printed(r, m) {
	if (m == "rate")
		return !has_metric(r, "p50") && !has_metric(r, "bits") && !has_metric(r, "calls")
	return m != "alone"
}

# What stands below the row's figure, under a name of its own.
function name_of(r, m) {
	if (is_main(m))
		return r
	if (m == "kept")
		return "  share kept"
	if (m == "overbridge")
		return "  times the bridge's"
	if (m == "bridge")
		return "  over a Linux bridge"
	if (m == "generator")
		return "  generator busy"
	return r " " m
}

# One row of the table, one of gnuplot's data: medians, and below the range of each.
function print_row(r, m,    name, unit, i, scale, line, ranges, middle, points) {
	name = name_of(r, m)
	unit = unit_of[m]
	scale = scale_of[m]
	line = sprintf("%-25s %-6s", name, unit)
	ranges = sprintf("%32s", "")
	points = "\"" (name ~ /^ / ? r : name) "\" " unit
	for (i = 1; i <= n_peers; i++) {
		middle = median_of(r, peer[i], m)
		line = line sprintf(" %10s", middle == "" ? "-" : short(middle / scale))
		ranges = ranges sprintf(" %10s", middle == "" ? "" :
					short(low / scale) "-" short(high / scale))
		points = points (middle == "" ? " NaN NaN NaN" :
				 sprintf(" %g %g %g", middle / scale, low / scale, high / scale))
	}
	for (i = 1; i <= n_peers; i++) {
		if (peer[i] == "vxs" || !has_vxs)
			continue
		middle = ratio_of(r, peer[i], m)
		line = line sprintf(" %*s", ratio_width[peer[i]],
				    middle == "" ? "-" : sprintf("%.2f", middle))
	}
	print line
	sub(/ +$/, "", ranges)
	print ranges
	if (m !~ /^(bridge|generator)$/)
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

function print_remarks(r,    i) {
	for (i = 1; i <= n_peers; i++)
		if ((r, peer[i]) in remark)
			print "  " title[peer[i]] ": " remark[r, peer[i]]
}

# Of a row that nobody could do.
function print_nothing(r,    i, line) {
	line = sprintf("%-25s %-6s", r, "")
	for (i = 1; i <= n_peers; i++)
		line = line sprintf(" %10s", "-")
	print line
}

function json_list(r, p, m,    i, line) {
	for (i = 1; i <= count[r, p]; i++)
		if ((r, p, m, i) in value)
			line = line (line != "" ? ", " : "") value[r, p, m, i]
	return "[" line "]"
}

function json_metric(r, m,    i, middle, line, ratios, digits) {
	digits = scale_of[m] > 1 ? "%.0f" : "%.6g"
	for (i = 1; i <= n_peers; i++) {
		middle = median_of(r, peer[i], m)
		if (middle == "")
			continue
		line = line sprintf("%s\n      \"%s\": {\"median\": " digits ", \"min\": " digits ", \"max\": " digits ", \"rounds\": %s}",
				    line ? "," : "", peer[i], middle, low, high, json_list(r, peer[i], m))
		middle = ratio_of(r, peer[i], m)
		if (peer[i] != "vxs" && middle != "")
			ratios = ratios sprintf("%s\"%s\": %.3f", ratios ? ", " : "", peer[i], middle)
	}
	return sprintf("    \"%s\": {\"unit\": \"%s\", \"vxs_to\": {%s},%s}", m,
		       json_unit_of[m], ratios, line)
}

function json_row(r,    i, m, line, losses, remarks) {
	for (m = 1; m <= n_metrics; m++)
		if (has_metric(r, metric[m]))
			line = line ",\n" json_metric(r, metric[m])
	for (i = 1; i <= n_peers; i++) {
		if (sum_of(r, peer[i], "sent"))
			losses = losses sprintf("%s\"%s\": {\"sent\": %d, \"lost\": %d}",
						losses ? ", " : "", peer[i],
						sum_of(r, peer[i], "sent"), sum_of(r, peer[i], "lost"))
		if ((r, peer[i]) in remark)
			remarks = remarks sprintf("%s\"%s\": \"%s\"", remarks ? ", " : "", peer[i],
						  remark[r, peer[i]])
	}
	if (losses)
		line = line sprintf(",\n    \"frames\": {%s}", losses)
	if (remarks)
		line = line sprintf(",\n    \"remarks\": {%s}", remarks)
	return sprintf("  \"%s\": {\n%s}", r, substr(line, 3))
}

function has_metric(r, m,    i) {
	for (i = 1; i <= n_peers; i++)
		if (median_of(r, peer[i], m) != "")
			return 1
	return 0
}

END {
	for (i = 1; i <= n_peers; i++)
		if (peer[i] == "vxs")
			has_vxs = 1
	head = sprintf("%-25s %-6s", "", "unit")
	for (i = 1; i <= n_peers; i++)
		head = head sprintf(" %10s", title[peer[i]])
	for (i = 1; has_vxs && i <= n_peers; i++)
		if (peer[i] != "vxs")
			head = head sprintf(" %*s", ratio_width[peer[i]], ratio_title[peer[i]])
	print head
	printf "" >data
	for (r = 1; r <= n_rows; r++) {
		printed = 0
		for (m = 1; m <= n_metrics; m++)
			if (has_metric(row[r], metric[m]) && is_printed(row[r], metric[m])) {
				print_row(row[r], metric[m])
				printed = 1
			}
		if (!printed)
			print_nothing(row[r])
		print_losses(row[r])
		print_remarks(row[r])
		text = text (r > 1 ? ",\n" : "") json_row(row[r])
	}
	printf "\nMedians of %d round%s of %s s, their ranges below; Mpps: million frames a second, us: there and\n", \
		rounds, rounds == 1 ? "" : "s", seconds
	print "back, share kept: of the rate without the idle VMs, %: of one CPU, MiB: resident, \"own\" without the"
	print "guests' memory, /1000 and /s: system calls in a thousand frames and a second. The last columns are"
	print "vxs's figure divided by the other's (medians of rounds)."
	printf "{\"rounds\": %d, \"seconds\": %s, \"rows\": {\n%s\n}}\n", rounds, seconds, text >json
}
