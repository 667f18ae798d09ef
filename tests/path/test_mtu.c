/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A VM's MTU that the wire can't carry: it is said when it comes about, and once. */
#include <string.h>

#include "check.h"
#include "lab.h"

static struct lab lab;

/* How many VMs' frames the wire can't carry, by `vxsctl status`. */
static int over(void)
{
	struct json_object *o = child_ctl(&lab.vxsd, "status", NULL), *mtus = NULL, *n = NULL;
	int ret;

	json_object_object_get_ex(o, "vm_mtus", &mtus);
	json_object_object_get_ex(mtus, "over_uplink", &n);
	ret = n ? json_object_get_int(n) : -1;
	json_object_put(o);
	return ret;
}

/* vxsctl's warning at `port add`. */
static bool add_warns(const char *words, const char *warning)
{
	struct json_object *o = child_ctl(&lab.vxsd, words, NULL), *text = NULL;
	bool ok;

	ok = o && json_object_object_get_ex(o, "warning", &text) && !!text == !!warning &&
	     (!text || strstr(json_object_get_string(text), warning));
	json_object_put(o);
	return ok;
}

static void set_nic_mtu(unsigned mtu)
{
	char line[64];

	CU_ASSERT_EQUAL(net_run(lab.net.host, "ip link set " NET_NIC " mtu %u", mtu), 0);
	snprintf(line, sizeof(line), "MTU is %u now", mtu);
	CU_ASSERT_TRUE(child_says(&lab.vxsd, line, LAB_WAIT));
}

static void test_warning(void)
{
	if (!lab_open(&lab, 1, "--uplink nic0 --vm a,mtu=9000 --vm b,mtu=1500 --vm c"))
		return;
	CU_ASSERT_EQUAL(child_count(&lab.vxsd, "longer frames to the wire"), 1);
	CU_ASSERT_EQUAL(child_count(&lab.vxsd,
				    "vm a: its MTU of 9000 is more than the uplink's 1500: longer "
				    "frames to the wire will be dropped; `ip link set nic0 mtu "
				    "9000` and restart vxsd, or give the port mtu=1500, and QEMU "
				    "host_mtu=1500"),
			1);
	CU_ASSERT_EQUAL(over(), 1);
	CU_ASSERT_TRUE(
		add_warns("port add d,mtu=4000", "its MTU of 4000 is more than the uplink's"));
	CU_ASSERT_TRUE(add_warns("port add e,mtu=1500", NULL));
	CU_ASSERT_TRUE(child_says(&lab.vxsd, "vm d: its MTU of 4000 is more", LAB_WAIT));
	CU_ASSERT_EQUAL(over(), 2);
	/* shorter: all those for which it has become true, or has other numbers */
	set_nic_mtu(1400);
	CU_ASSERT_EQUAL(over(), 4);
	CU_ASSERT_EQUAL(child_count(&lab.vxsd, "is more than the uplink's 1400"), 4);
	CU_ASSERT_EQUAL(child_count(&lab.vxsd, "vm b: its MTU of 1500"), 1);
	CU_ASSERT_EQUAL(child_count(&lab.vxsd, "vm c: its MTU"), 0);
	/* a front-end that comes and goes changes nothing */
	CU_ASSERT_PTR_NOT_NULL(lab_vm(&lab, "b", NULL));
	CU_ASSERT_EQUAL(over(), 4);
	CU_ASSERT_EQUAL(child_count(&lab.vxsd, "vm b: its MTU of 1500"), 1);
	lab_close(&lab);
}

/* UMEM frames are as large as the MTU at the start wanted: what the user still has to do is said.
 */
static void test_too_late(void)
{
	if (!lab_open(&lab, 1, "--uplink nic0 --vm a,mtu=1700 --vm b,mtu=9000"))
		return;
	CU_ASSERT_EQUAL(child_count(&lab.vxsd, "`ip link set nic0 mtu 1700`, or give"), 1);
	CU_ASSERT_EQUAL(net_run(lab.net.host, "ip link set " NET_NIC " mtu 9000"), 0);
	CU_ASSERT_TRUE(child_says(&lab.vxsd, "dropped; restart vxsd, or give", LAB_WAIT));
	CU_ASSERT_EQUAL(over(), 1);
	lab_close(&lab);
}

int main(int argc, char **argv)
{
	static const struct check tests[] = {
		{"warning", test_warning},
		{"too_late", test_too_late},
		{},
	};

	return check_main("mtu", tests, argc, argv);
}
